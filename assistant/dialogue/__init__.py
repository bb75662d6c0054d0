"""One turn of conversation: understand, retrieve, rank, respond."""
