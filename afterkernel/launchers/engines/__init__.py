"""What launchers need of their engines beyond themselves: imported only where the engine is installed."""
