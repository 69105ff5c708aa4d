"""The models compared: questions, answers, metrics, intervals, verdict."""
