"""deployment/: rules over its files, its scripts against stand-ins, the stack and docs/deploy.md on a local AWS."""
