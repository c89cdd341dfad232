"""Services that MaskTrain talks to, as servers of the tests: driven by the real clients, over real sockets."""
