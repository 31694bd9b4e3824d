"""What launchers need from their engines; imported only if the engine is installed."""
