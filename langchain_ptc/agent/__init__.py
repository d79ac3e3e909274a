"""What an agent around the code has: its guards, its own tool calls, its state and its sessions."""
