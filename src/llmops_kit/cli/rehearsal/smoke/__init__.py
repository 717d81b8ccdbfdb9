"""The smoke test: the first day on a real account, scripted, and the questions that only an account answers."""
