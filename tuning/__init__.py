"""Fine-tuning with TRL and evaluation with vLLM; the exported dataset is all it takes from `selfinstruct`."""
