"""People: who may sign in to the application, and what each may do there."""
