"""What stands between the socket and the endpoints: plain ASGI, for every request alike."""
