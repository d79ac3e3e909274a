"""Seven tasks of a company, each over 10 to 1,000 rows, with tools, a program, and the truth by SQL."""
