"""Workers on other machines: a host takes them from servers, each of which has workers of its own."""
