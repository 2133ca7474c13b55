"""The workflows of .github, and deployment/release, which one of them runs."""
