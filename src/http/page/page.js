<!doctype html><title>kvs-infer</title>{{words}}
