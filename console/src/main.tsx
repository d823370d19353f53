import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { ApiError } from "./api/client.ts";
import { App } from "./app.tsx";
import "./style.css";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 1_000,
      // What was refused is refused again; what did not answer may yet.
      retry: (failures, error) => failures < 1 && error instanceof ApiError && [0, 502, 504].includes(error.status),
    },
  },
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <Router base="/ui">
          <App />
        </Router>
      </QueryClientProvider>
    </StrictMode>,
  );
}
