"""THE CHECK BEFORE THE RUN: what in a program could not have worked."""
