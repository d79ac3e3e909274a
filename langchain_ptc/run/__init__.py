"""ONE RUN of one program: a catalog and a sandbox."""
