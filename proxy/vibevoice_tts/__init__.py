"""Speech synthesis: engines behind one interface (`engine`) and the worker that runs them."""
