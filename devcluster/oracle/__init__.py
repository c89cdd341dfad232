"""Oracle Cloud for the real `oci` SDK: Container Engine and Compute for node pools, Object Storage for checkpoints.

What is known of Oracle's behaviour is kept; where it is not known, the less convenient possibility is served.
"""
