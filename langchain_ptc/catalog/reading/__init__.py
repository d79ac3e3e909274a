"""Tools, schemas and annotations -> definitions and type trees."""
