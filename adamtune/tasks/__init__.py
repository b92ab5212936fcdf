"""What is to be learned: rows, network, loss, split and budget."""
