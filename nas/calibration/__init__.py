"""How far the proxy can be trusted."""
