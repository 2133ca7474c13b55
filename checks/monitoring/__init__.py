"""deployment/monitoring: the alert rules and the dashboard."""
