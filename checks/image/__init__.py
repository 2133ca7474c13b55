"""The image, built and run as ECS would."""
