"""HEALTHCHECK of the image: whether the process answers at all. Whether it can caption, /v2/health/ready says."""

import http.client
import sys

from config.settings import Settings

TIMEOUT_S = 8


def is_alive(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(Settings.from_env().port) else "the service does not answer")
