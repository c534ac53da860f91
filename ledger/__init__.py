"""What survives a crash: the durable store every role meets in."""
