"""What happens by itself: jobs, rules, data exports."""
