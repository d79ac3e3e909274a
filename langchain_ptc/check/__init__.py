"""THE CHECK BEFORE THE RUN: errors that a program would certainly raise."""
