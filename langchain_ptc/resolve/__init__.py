"""What a person names in text, on a command line say, and the thing itself: objects, chat models."""
