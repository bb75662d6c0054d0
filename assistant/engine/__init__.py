"""The model engine: a vLLM server, kept running and spoken to."""
