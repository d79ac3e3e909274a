"""An agent whose code runs on servers, one of which is killed in the middle: `make remote`."""
