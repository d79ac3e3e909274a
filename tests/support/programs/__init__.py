"""Programs as models write them, the tools that they call, and what they print."""
