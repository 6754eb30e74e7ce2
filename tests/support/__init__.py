"""What several tests and load tests share: a whole service, receivers, proxies."""
