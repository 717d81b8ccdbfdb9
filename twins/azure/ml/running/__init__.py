"""What really runs on the twin of Azure: deployments of endpoints, and jobs."""
