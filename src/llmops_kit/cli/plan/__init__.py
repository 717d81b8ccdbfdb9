"""A readable plan: the changes of the next `up`, their cost, and their requirements. Changes nothing."""
