"""Oracle Cloud as far as node pools need it: Container Engine and Compute, for the real `oci` SDK.

What is known of Oracle's behaviour is kept; where it is not known, the less convenient possibility is served.
"""
