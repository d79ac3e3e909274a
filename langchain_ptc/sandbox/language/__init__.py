"""Which Python the code may be: checked while it is compiled, and by guards while it runs."""
