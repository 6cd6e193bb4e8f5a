"""What people see: pages, signing in, connecting."""
