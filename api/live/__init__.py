"""What happens now: figures of the last minutes kept in memory from the hub, and the WebSockets that carry them."""
