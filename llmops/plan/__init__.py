"""A plan that can be read: what the next `up` changes, what it costs, what it needs. Changes nothing."""
