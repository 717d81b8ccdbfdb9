"""The services of the twin: what moto lacks or answers wrongly, one module a service."""
