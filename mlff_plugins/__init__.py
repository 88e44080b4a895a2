"""The built-in plugins; each imports its engine inside its methods and none imports another."""
