"""The keymaster on a host of its own: what goes over the wire, the server, and the client that rooms use."""
