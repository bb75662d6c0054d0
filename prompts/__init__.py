"""What the model is told: one file a task, a version each."""
