from tests.images.internet import internet, site

__all__ = ["internet", "site"]  # fixtures
