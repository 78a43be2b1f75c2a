"""Where passages come from: files of several formats, folders, standard input."""
