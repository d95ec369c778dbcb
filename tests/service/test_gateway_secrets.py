"""What a gateway says of a failure never holds a credential."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ledger.core.errors import ServiceError
from ledger.service.gateway import AnthropicGateway


@pytest.mark.parametrize("key", ["sk-ant-SECRET\n", "sk-ant-SECRET ", "sk-ant-SECRET\x00"])
def test_a_key_that_cannot_be_sent_is_not_quoted(key: str) -> None:
    """The HTTP library refuses the header and quotes it, the key with it; what a call says is recorded in the log."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        gateway = AnthropicGateway(base_url=f"http://127.0.0.1:{server.server_port}", api_key=key)
        with pytest.raises(ServiceError) as caught:
            gateway.list(10)
        server.shutdown()
    assert "SECRET" not in str(caught.value)
