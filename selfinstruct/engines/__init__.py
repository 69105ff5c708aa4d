"""Engines that answer requests: vLLM in process, and a scripted one for tests."""
