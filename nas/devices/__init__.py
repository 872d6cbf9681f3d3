"""What a network costs on a named device."""
