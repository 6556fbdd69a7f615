"""The search server: documents written and asked. `opensearchpy` is imported here alone, and this
package only where a server is set.
"""
