"""Services of the twin, one module each: what moto lacks or answers wrongly."""
