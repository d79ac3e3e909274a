"""The untrusted side: what runs in a worker process, around and beneath the model's code."""
