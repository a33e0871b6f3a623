"""The CTF of every micrograph: ``vitreous ctf`` (:mod:`vitreous.jobs.ctf` refines particles')."""
