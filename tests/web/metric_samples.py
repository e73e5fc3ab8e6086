"""What /metrics says, by the names and labels of the series."""

from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(client: FlaskClient) -> Samples:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(response.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(client: FlaskClient, name: str, **labels: str) -> float:
    """0 for a series that is not there yet."""
    return samples_of(client).get((name, tuple(sorted(labels.items()))), 0.0)
